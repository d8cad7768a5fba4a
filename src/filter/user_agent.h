/* The little that a user agent string says reliably: family of browser and system, and what kind of
 * device. Static texts; {NULL, 0} for an empty string, "other" for one that no rule knows. */
#ifndef FILTER_USER_AGENT_H
#define FILTER_USER_AGENT_H

#include "bytes.h"

struct bytes user_agent_browser(struct bytes ua);
struct bytes user_agent_os(struct bytes ua);
struct bytes user_agent_device(struct bytes ua); /* "bot", "tv", "tablet", "phone", "desktop" */

/* The families of user_agent_os, from what device.os says: "iPhone OS" and "iOS" are both "ios".
 * {NULL, 0} when it is none of them. */
struct bytes os_family(struct bytes os);

#endif
