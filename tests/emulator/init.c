/* The first process of an emulated machine: runs every kernel that the machine has against plain C,
 * says so on the serial line and turns the machine off. tests/emulator/run builds and boots it. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/reboot.h>
#include <unistd.h>

#include "model/kernel.h"
#include "model/kernel_int8.h"

int main(void)
{
    bool alone = getpid() == 1;
    int serial = alone ? open("/dev/ttyS0", O_WRONLY) : -1;
    if (serial >= 0)
        dup2(serial, STDOUT_FILENO);
    const struct kernel *exact[4];
    const struct kernel_int8 *whole[KERNEL_INT8_MAX];
    size_t n_exact = kernel_available(exact), n_whole = kernel_int8_available(whole);
    for (size_t i = 0; i < n_exact; i++)
        printf("kernel %s %s\n", exact[i]->name, kernel_agrees(exact[i]) ? "agrees" : "DIFFERS");
    for (size_t i = 0; i < n_whole; i++)
        printf("kernel %s %s\n", whole[i]->name,
               kernel_int8_agrees(whole[i]) ? "agrees" : "DIFFERS");
    printf("kernels done\n");
    fflush(stdout);
    if (alone) {
        sleep(1);
        reboot(RB_POWER_OFF);
    }
    return 0;
}
