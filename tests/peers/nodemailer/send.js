// Sends messages by nodemailer. Standard input is one JSON object:
//   {"transport": {...}, "ca": FILE, "messages": [{"file": PATH, "from": ADDRESS, "to": ADDRESS}]}
// Ends with status 1 when one of them was not accepted.
'use strict';

const fs = require('fs');
const path = require('path');
const nodemailer = require(path.join(process.env.NODEMAILER, 'node_modules', 'nodemailer'));

const work = JSON.parse(fs.readFileSync(0, 'utf8'));
if (work.ca) {
    work.transport.tls = { ca: fs.readFileSync(work.ca) };
}
const transport = nodemailer.createTransport({ ...work.transport, pool: true, maxConnections: 4 });

async function main() {
    await Promise.all(work.messages.map((message) => transport.sendMail({
        envelope: { from: message.from, to: [message.to], use8BitMime: true },
        raw: fs.readFileSync(message.file),
    })));
    transport.close();
}

main().catch((error) => {
    console.error(error);
    process.exit(1);
});
