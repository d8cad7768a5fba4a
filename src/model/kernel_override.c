/* BIDSIEVE_KERNEL: floats or whole numbers by name, if they agree with plain C here. */
#include "model/kernel_override.h"

#include <string.h>

#include "model/kernel.h"
#include "model/kernel_int8.h"

static void add_name(char *to, size_t room, const char *name)
{
    size_t len = strlen(to);
    snprintf(to + len, room - len, "%s%s", len > 0 ? ", " : "", name);
}

int kernel_override(const char *name, struct error *err)
{
    const struct kernel *floats[4];
    const struct kernel_int8 *whole[KERNEL_INT8_MAX];
    char names[128] = "";
    if (name == NULL || name[0] == '\0')
        return 0;
    size_t n_floats = kernel_available(floats), n_whole = kernel_int8_available(whole);
    for (size_t i = 0; i < n_floats; i++) {
        add_name(names, sizeof(names), floats[i]->name);
        if (strcmp(name, floats[i]->name) == 0 && kernel_agrees(floats[i])) {
            kernel_force(floats[i]);
            kernel_int8_force(NULL);
            return 0;
        }
    }
    for (size_t i = 0; i < n_whole; i++) {
        add_name(names, sizeof(names), whole[i]->name);
        if (strcmp(name, whole[i]->name) == 0 && kernel_int8_agrees(whole[i])) {
            kernel_int8_force(whole[i]);
            return 0;
        }
    }
    return error_set(err, "no kernel \"%.40s\" on this machine, the default is used; there are: %s",
                     name, names);
}
