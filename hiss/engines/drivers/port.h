/* port.h: the two files of drive.c, on a computer or out of an emulator. Names are relative to the folder of the run. */

#ifndef PORT_H
#define PORT_H

#include <stdbool.h>
#include <stddef.h>

bool port_open(void);
bool port_read(void *to, size_t bytes);
bool port_write(const void *from, size_t bytes);
bool port_close(void);

#endif
