/* port_host.c: drive.c as a program of this computer. */

#include "port.h"

#include <stdio.h>

int drive(void);

static FILE *in;
static FILE *out;

bool port_open(void)
{
    in = fopen("in.bin", "rb");
    out = fopen("out.bin", "wb");
    return in != NULL && out != NULL;
}

bool port_read(void *to, size_t bytes) { return fread(to, 1U, bytes, in) == bytes; }

bool port_write(const void *from, size_t bytes) { return fwrite(from, 1U, bytes, out) == bytes; }

bool port_close(void) { return fclose(in) == 0 && fclose(out) == 0; }

int main(void) { return drive(); }
