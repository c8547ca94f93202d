'use strict';

// The one plugin that Haraka needs to be a gateway here: it lets clients of this machine relay,
// and names the next hop. Haraka has no setting for either; its own plugins for them ask DNS, or
// hand a message over before they answer for it and so need no queue.

exports.register = function () {
    const settings = this.config.get('next_hop.ini');
    this.next_hop = { priority: 0, exchange: '127.0.0.1', port: settings.main.port };
};

exports.hook_connect = function (next, connection) {
    if (connection.remote.ip === '127.0.0.1') connection.relaying = true;
    next();
};

exports.hook_get_mx = function (next) {
    next(OK, this.next_hop);
};
