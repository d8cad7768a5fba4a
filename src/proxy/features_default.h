/* config/features.json, built into the binary so that `train` finds its default schema wherever it
 * is started. The build generates the definition. */
#ifndef PROXY_FEATURES_DEFAULT_H
#define PROXY_FEATURES_DEFAULT_H

extern const char features_default_json[];

#endif
