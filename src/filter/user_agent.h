/* The little that a user agent string says reliably: family of browser and system, and what kind of
 * device. */
#ifndef FILTER_USER_AGENT_H
#define FILTER_USER_AGENT_H

#include <stdint.h>

#include "bytes.h"

/* The rules, arranged for one pass over a string; immutable, any thread. */
struct user_agent_rules;
struct user_agent_rules *user_agent_rules_create(void); /* NULL: no memory */
void user_agent_rules_destroy(struct user_agent_rules *rules);

/* Static texts; {NULL, 0} for an empty string, "other" for one that no rule knows. */
struct user_agent {
    struct bytes browser, os;
    struct bytes device; /* "bot", "tv", "tablet", "phone", "desktop" */
};
void user_agent_read(const struct user_agent_rules *rules, struct bytes ua, struct user_agent *out);

/* The same families of browsers, from the brands of a structured user agent. {NULL, 0} when all of
 * them are none. */
struct bytes browser_family(const struct user_agent_rules *rules, const struct bytes *brands,
                            uint32_t n);

/* The same families of systems, from what device.os says: "iPhone OS" and "iOS" are both "ios".
 * {NULL, 0} when it is none of them. */
struct bytes os_family(const struct user_agent_rules *rules, struct bytes os);

#endif
