/* Runs every kernel that the emulated machine has against plain C and says so on the serial line.
 * Without an operating system: what the kernels need of a C library stands below. */
#include <string.h>

#include "model/kernel.h"
#include "model/kernel_int8.h"

/* ---- the machine ---- */

static void out(uint16_t port, char c)
{
    __asm__ volatile("outb %0, %1" ::"a"(c), "Nd"(port));
}

static void say(const char *text)
{
    for (; *text != '\0'; text++) {
        uint8_t status = 0;
        while ((status & 1 << 5) == 0) /* the last one is still on its way */
            __asm__ volatile("inb %1, %0" : "=a"(status) : "Nd"((uint16_t)0x3fd));
        out(0x3f8, *text);
    }
}

static void turn_off(void)
{
    say("\n"); /* so that what came before is out */
    for (const char *c = "Shutdown"; *c != '\0'; c++)
        out(0x8900, *c); /* what Bochs listens for */
}

/* ---- a C library ---- */

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
    void *all = to;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n)::"memory");
    return all;
}

void *memset(void *to, int value, size_t n)
{
    void *all = to;
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(value) : "memory");
    return all;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const unsigned char *x = a, *y = b;
    for (; n > 0; n--, x++, y++)
        if (*x != *y)
            return *x - *y;
    return 0;
}

void *aligned_alloc(size_t alignment, size_t n)
{
    static char heap[32 << 20], *free_from = heap;
    char *p = (char *)(((uintptr_t)free_from + alignment - 1) / alignment * alignment);
    free_from = p + n;
    return free_from <= heap + sizeof(heap) ? p : NULL;
}

void free(void *p)
{
}

long lrintf(float x)
{
    long whole;
    __asm__("cvtss2si %1, %0" : "=r"(whole) : "x"(x));
    return whole;
}

float sqrtf(float x)
{
    __asm__("sqrtss %0, %0" : "+x"(x));
    return x;
}

/* arch_prctl: nobody has to be asked for the tiles. */
long syscall(long number, ...)
{
    return 0;
}

/* ---- the check ---- */

static void tell(const char *name, bool agrees)
{
    say(name);
    say(agrees ? " agrees\n" : " DIFFERS\n");
}

/* Bochs 3.1 multiplies the bytes of tdpbusd as if both were unsigned. So the tiles are compared on
 * weights that are not negative: the layout, the blocks and the remainders, not the sign. */
static bool tiles_agree(void)
{
    enum { LINES = 3, PANELS = 9, ROWS = 64, UNITS = LINES * KERNEL_LINE };
    static int8_t weight[PANELS * KERNEL_INT8_PANEL * UNITS];
    static _Alignas(64) uint8_t h1[ROWS * UNITS];
    int32_t bias[PANELS * KERNEL_INT8_PANEL];
    float output[PANELS * KERNEL_INT8_PANEL];
    for (size_t i = 0; i < sizeof(weight); i++)
        weight[i] = (int8_t)(i * 37 % 128);
    for (size_t i = 0; i < sizeof(h1); i++)
        h1[i] = (uint8_t)(i * 91 % 256);
    for (int j = 0; j < PANELS * KERNEL_INT8_PANEL; j++) {
        bias[j] = -1500000 + j * 1000;
        output[j] = (float)(j % 7) - 3.25f;
    }
    for (uint32_t lines = 1; lines <= LINES; lines += 2)
        for (uint32_t panels = 1; panels <= PANELS; panels++)
            for (size_t rows = 0; rows <= ROWS; rows += 1 + rows % 5 * 3) {
                struct kernel_int8_layers l = {lines, panels, weight, bias, output};
                float plain[ROWS + 1] = {0}, tiles[ROWS + 1] = {0};
                kernel_int8_c.layers(&l, h1, rows, plain);
                kernel_int8_amx.layers(&l, h1, rows, tiles);
                if (memcmp(plain, tiles, sizeof(plain)) != 0)
                    return false;
            }
    return true;
}

void run(void)
{
    const struct kernel *exact[4];
    const struct kernel_int8 *whole[KERNEL_INT8_MAX];
    out(0x3fb, 3); /* the serial line: 8 bits a character */
    size_t n_exact = kernel_available(exact), n_whole = kernel_int8_available(whole);
    for (size_t i = 0; i < n_exact; i++)
        tell(exact[i]->name, kernel_agrees(exact[i]));
    for (size_t i = 0; i < n_whole; i++)
        if (whole[i] != &kernel_int8_amx)
            tell(whole[i]->name, kernel_int8_agrees(whole[i]));
        else
            tell("int8-amx (weights from 0)", tiles_agree());
    say("done\n");
    turn_off();
}
