/* count_plugin.c: a plugin of qemu 7: instructions between two calls of one function, every pair a number in counts.bin.

   Argument mark=ADDRESS. The functions are qemu's; they are declared here because Debian ships no header for them. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_info;
typedef void (*at_translation)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*at_run)(unsigned int, void *);
typedef void (*at_end)(qemu_plugin_id_t, void *);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, at_translation);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, at_run, int flags, void *);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int operation, void *, uint64_t);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, at_end, void *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);

enum { NO_REGISTERS = 0, ADD_U64 = 0 };

int qemu_plugin_version = 1;

static uint64_t mark;
static uint64_t executed;
static uint64_t began;
static int inside;
static FILE *out;

/* Runs before the block is counted. */
static void on_mark(unsigned int core, void *unused)
{
    (void)core;
    (void)unused;
    if (inside) {
        const uint64_t between = executed - began;
        fwrite(&between, sizeof between, 1, out);
    }
    began = executed;
    inside = !inside;
}

static void on_block(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
    (void)id;
    if (qemu_plugin_tb_vaddr(block) == mark) {
        qemu_plugin_register_vcpu_tb_exec_cb(block, on_mark, NO_REGISTERS, NULL);
    }
    qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, &executed, qemu_plugin_tb_n_insns(block));
}

static void on_end(qemu_plugin_id_t id, void *unused)
{
    (void)id;
    (void)unused;
    fclose(out);
}

int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info, int argc, char **argv);
int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; ++i) {
        if (strncmp(argv[i], "mark=", 5) == 0) {
            mark = strtoull(argv[i] + 5, NULL, 0);
        }
    }
    out = fopen("counts.bin", "wb");
    if (out == NULL) {
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_block);
    qemu_plugin_register_atexit_cb(id, on_end, NULL);
    return 0;
}
