/* sim_file.h - what a crash does to the files of a simulated loop. */
#pragma once

struct loop;

/* The power goes while writes are on their way: of each, some first sectors are written, not
 * durably. The process must end after it. */
void sim_file_crash(struct loop *loop);
