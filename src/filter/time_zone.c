/* A zone is its offset in winter and whose rule its summer time follows. Zones that have agreed
 * since 2025 share a row. A rule is two days of the year, each the n-th (or last) such weekday of a
 * month, and the minutes since that day's midnight, in UTC or in the zone's winter time.
 *
 * Left out: Antarctica/Troll and Australia/Lord_Howe, whose clocks do not move by an hour, and what
 * Morocco and Palestine do for Ramadan. */
#include "filter/time_zone.h"

#include <stdlib.h>

#include "filter/interner.h"

enum { MINUTES_OF_DAY = 24 * 60, SUMMER_MINUTES = 60, LAST = 5 };
enum { MONDAY, TUESDAY, WEDNESDAY, THURSDAY, FRIDAY, SATURDAY, SUNDAY };

enum summer {
    NO_SUMMER,
    EUROPE,
    US,
    CUBA,
    CHILE,
    EGYPT,
    ISRAEL,
    LEBANON,
    MOLDOVA,
    PALESTINE,
    AUSTRALIA,
    NEW_ZEALAND,
};

struct change {
    uint8_t month, week, weekday; /* 1..12; 1..4 or LAST */
    int16_t minutes;              /* since the midnight that begins the day */
};

static const struct summer_rule {
    struct change begins, ends;
    bool utc;
} SUMMERS[] = {
    [EUROPE] = {{3, LAST, SUNDAY, 60}, {10, LAST, SUNDAY, 60}, true},
    [US] = {{3, 2, SUNDAY, 120}, {11, 1, SUNDAY, 60}, false},
    [CUBA] = {{3, 2, SUNDAY, 0}, {11, 1, SUNDAY, 0}, false},
    [CHILE] = {{9, 1, SATURDAY, 28 * 60}, {4, 1, SATURDAY, 27 * 60}, true},
    [EGYPT] = {{4, LAST, FRIDAY, 0}, {10, LAST, THURSDAY, 23 * 60}, false},
    [ISRAEL] = {{3, 4, THURSDAY, 26 * 60}, {10, LAST, SUNDAY, 60}, false},
    [LEBANON] = {{3, LAST, SUNDAY, 0}, {10, LAST, SUNDAY, -60}, false},
    [MOLDOVA] = {{3, LAST, SUNDAY, 120}, {10, LAST, SUNDAY, 120}, false},
    [PALESTINE] = {{3, 4, THURSDAY, 50 * 60}, {10, 4, THURSDAY, 49 * 60}, false},
    [AUSTRALIA] = {{10, 1, SUNDAY, 120}, {4, 1, SUNDAY, 120}, false},
    [NEW_ZEALAND] = {{9, LAST, SUNDAY, -10 * 60}, {4, 1, SUNDAY, -10 * 60}, true},
};

/* Countries stand where most of their people live; "+": it spans others that matter. */
struct time_zone {
    int16_t winter_min;
    enum summer summer;
    const char *countries, *names;
};

// clang-format off
static const struct time_zone ZONES[] = {
    {-660, NO_SUMMER,
     "ASM NIU",
     "Pacific/Midway Pacific/Niue Pacific/Pago_Pago Pacific/Samoa"},
    {-600, NO_SUMMER,
     "COK PYF",
     "Pacific/Honolulu Pacific/Johnston Pacific/Rarotonga Pacific/Tahiti"},
    {-600, US,
     "",
     "America/Adak America/Atka"},
    {-570, NO_SUMMER,
     "",
     "Pacific/Marquesas"},
    {-540, NO_SUMMER,
     "",
     "Pacific/Gambier"},
    {-540, US,
     "",
     "America/Anchorage America/Juneau America/Metlakatla America/Nome America/Sitka "
     "America/Yakutat"},
    {-480, NO_SUMMER,
     "PCN",
     "Pacific/Pitcairn"},
    {-480, US,
     "",
     "America/Ensenada America/Los_Angeles America/Santa_Isabel America/Tijuana "
     "America/Vancouver"},
    {-420, NO_SUMMER,
     "",
     "America/Creston America/Dawson America/Dawson_Creek America/Fort_Nelson "
     "America/Hermosillo America/Mazatlan America/Phoenix America/Whitehorse"},
    {-420, US,
     "",
     "America/Boise America/Cambridge_Bay America/Ciudad_Juarez America/Denver "
     "America/Edmonton America/Inuvik America/Shiprock America/Yellowknife"},
    {-360, CHILE,
     "",
     "Pacific/Easter"},
    {-360, NO_SUMMER,
     "BLZ CRI GTM HND MEX+ NIC SLV",
     "America/Bahia_Banderas America/Belize America/Chihuahua America/Costa_Rica "
     "America/El_Salvador America/Guatemala America/Managua America/Merida "
     "America/Mexico_City America/Monterrey America/Regina America/Swift_Current "
     "America/Tegucigalpa Pacific/Galapagos"},
    {-360, US,
     "",
     "America/Chicago America/Indiana/Knox America/Indiana/Tell_City America/Knox_IN "
     "America/Matamoros America/Menominee America/North_Dakota/Beulah "
     "America/North_Dakota/Center America/North_Dakota/New_Salem America/Ojinaga "
     "America/Rainy_River America/Rankin_Inlet America/Resolute America/Winnipeg"},
    {-300, CUBA,
     "CUB",
     "America/Havana"},
    {-300, NO_SUMMER,
     "COL CYM ECU JAM PAN PER",
     "America/Atikokan America/Bogota America/Cancun America/Cayman America/Coral_Harbour "
     "America/Eirunepe America/Guayaquil America/Jamaica America/Lima America/Panama "
     "America/Porto_Acre America/Rio_Branco"},
    {-300, US,
     "BHS CAN+ HTI TCA USA+",
     "America/Detroit America/Fort_Wayne America/Grand_Turk America/Indiana/Indianapolis "
     "America/Indiana/Marengo America/Indiana/Petersburg America/Indiana/Vevay "
     "America/Indiana/Vincennes America/Indiana/Winamac America/Indianapolis America/Iqaluit "
     "America/Kentucky/Louisville America/Kentucky/Monticello America/Louisville "
     "America/Montreal America/Nassau America/New_York America/Nipigon America/Pangnirtung "
     "America/Port-au-Prince America/Thunder_Bay America/Toronto"},
    {-240, CHILE,
     "CHL",
     "America/Santiago"},
    {-240, NO_SUMMER,
     "ABW AIA ATG BES BLM BOL BRB CUW DMA DOM GLP GRD GUY KNA LCA MAF MSR MTQ PRI SXM TTO "
     "VCT VEN VGB VIR",
     "America/Anguilla America/Antigua America/Aruba America/Barbados America/Blanc-Sablon "
     "America/Boa_Vista America/Campo_Grande America/Caracas America/Cuiaba America/Curacao "
     "America/Dominica America/Grenada America/Guadeloupe America/Guyana America/Kralendijk "
     "America/La_Paz America/Lower_Princes America/Manaus America/Marigot America/Martinique "
     "America/Montserrat America/Port_of_Spain America/Porto_Velho America/Puerto_Rico "
     "America/Santo_Domingo America/St_Barthelemy America/St_Kitts America/St_Lucia "
     "America/St_Thomas America/St_Vincent America/Tortola America/Virgin"},
    {-240, US,
     "BMU",
     "America/Glace_Bay America/Goose_Bay America/Halifax America/Moncton America/Thule "
     "Atlantic/Bermuda"},
    {-210, US,
     "",
     "America/St_Johns"},
    {-180, NO_SUMMER,
     "ARG BRA+ FLK GUF PRY SUR URY",
     "America/Araguaina America/Argentina/Buenos_Aires America/Argentina/Catamarca "
     "America/Argentina/ComodRivadavia America/Argentina/Cordoba America/Argentina/Jujuy "
     "America/Argentina/La_Rioja America/Argentina/Mendoza America/Argentina/Rio_Gallegos "
     "America/Argentina/Salta America/Argentina/San_Juan America/Argentina/San_Luis "
     "America/Argentina/Tucuman America/Argentina/Ushuaia America/Asuncion America/Bahia "
     "America/Belem America/Buenos_Aires America/Catamarca America/Cayenne America/Cordoba "
     "America/Coyhaique America/Fortaleza America/Jujuy America/Maceio America/Mendoza "
     "America/Montevideo America/Paramaribo America/Punta_Arenas America/Recife "
     "America/Rosario America/Santarem America/Sao_Paulo Antarctica/Palmer "
     "Antarctica/Rothera Atlantic/Stanley"},
    {-180, US,
     "SPM",
     "America/Miquelon"},
    {-120, EUROPE,
     "GRL",
     "America/Godthab America/Nuuk America/Scoresbysund"},
    {-120, NO_SUMMER,
     "SGS",
     "America/Noronha Atlantic/South_Georgia"},
    {-60, EUROPE,
     "",
     "Atlantic/Azores"},
    {-60, NO_SUMMER,
     "CPV",
     "Atlantic/Cape_Verde"},
    {0, EUROPE,
     "FRO GBR GGY IMN IRL JEY PRT",
     "Atlantic/Canary Atlantic/Faeroe Atlantic/Faroe Atlantic/Madeira Europe/Belfast "
     "Europe/Dublin Europe/Guernsey Europe/Isle_of_Man Europe/Jersey Europe/Lisbon "
     "Europe/London"},
    {0, NO_SUMMER,
     "BFA CIV GHA GIN GMB GNB ISL LBR MLI MRT SEN SHN SLE STP TGO",
     "Africa/Abidjan Africa/Accra Africa/Bamako Africa/Banjul Africa/Bissau Africa/Conakry "
     "Africa/Dakar Africa/Freetown Africa/Lome Africa/Monrovia Africa/Nouakchott "
     "Africa/Ouagadougou Africa/Sao_Tome Africa/Timbuktu America/Danmarkshavn "
     "Atlantic/Reykjavik Atlantic/St_Helena"},
    {60, EUROPE,
     "ALB AND AUT BEL BIH CHE CZE DEU DNK ESP FRA GIB HRV HUN ITA LIE LUX MCO MKD MLT MNE "
     "NLD NOR POL SJM SMR SRB SVK SVN SWE VAT XKX",
     "Africa/Ceuta Arctic/Longyearbyen Atlantic/Jan_Mayen Europe/Amsterdam Europe/Andorra "
     "Europe/Belgrade Europe/Berlin Europe/Bratislava Europe/Brussels Europe/Budapest "
     "Europe/Busingen Europe/Copenhagen Europe/Gibraltar Europe/Ljubljana Europe/Luxembourg "
     "Europe/Madrid Europe/Malta Europe/Monaco Europe/Oslo Europe/Paris Europe/Podgorica "
     "Europe/Prague Europe/Rome Europe/San_Marino Europe/Sarajevo Europe/Skopje "
     "Europe/Stockholm Europe/Tirane Europe/Vaduz Europe/Vatican Europe/Vienna Europe/Warsaw "
     "Europe/Zagreb Europe/Zurich"},
    {60, NO_SUMMER,
     "AGO BEN CAF CMR COD+ COG DZA ESH GAB GNQ MAR NER NGA TCD TUN",
     "Africa/Algiers Africa/Bangui Africa/Brazzaville Africa/Casablanca Africa/Douala "
     "Africa/El_Aaiun Africa/Kinshasa Africa/Lagos Africa/Libreville Africa/Luanda "
     "Africa/Malabo Africa/Ndjamena Africa/Niamey Africa/Porto-Novo Africa/Tunis"},
    {120, EGYPT,
     "EGY",
     "Africa/Cairo"},
    {120, EUROPE,
     "ALA BGR CYP EST FIN GRC LTU LVA ROU UKR",
     "Asia/Famagusta Asia/Nicosia Europe/Athens Europe/Bucharest Europe/Helsinki Europe/Kiev "
     "Europe/Kyiv Europe/Mariehamn Europe/Nicosia Europe/Riga Europe/Sofia Europe/Tallinn "
     "Europe/Uzhgorod Europe/Vilnius Europe/Zaporozhye"},
    {120, ISRAEL,
     "ISR",
     "Asia/Jerusalem Asia/Tel_Aviv"},
    {120, LEBANON,
     "LBN",
     "Asia/Beirut"},
    {120, MOLDOVA,
     "MDA",
     "Europe/Chisinau Europe/Tiraspol"},
    {120, NO_SUMMER,
     "BDI BWA LBY LSO MOZ MWI NAM RWA SDN SSD SWZ ZAF ZMB ZWE",
     "Africa/Blantyre Africa/Bujumbura Africa/Gaborone Africa/Harare Africa/Johannesburg "
     "Africa/Juba Africa/Khartoum Africa/Kigali Africa/Lubumbashi Africa/Lusaka "
     "Africa/Maputo Africa/Maseru Africa/Mbabane Africa/Tripoli Africa/Windhoek "
     "Europe/Kaliningrad"},
    {120, PALESTINE,
     "PSE",
     "Asia/Gaza Asia/Hebron"},
    {180, NO_SUMMER,
     "BHR BLR COM DJI ERI ETH IRQ JOR KEN KWT MDG MYT QAT RUS+ SAU SOM SYR TUR TZA UGA YEM",
     "Africa/Addis_Ababa Africa/Asmara Africa/Asmera Africa/Dar_es_Salaam Africa/Djibouti "
     "Africa/Kampala Africa/Mogadishu Africa/Nairobi Antarctica/Syowa Asia/Aden Asia/Amman "
     "Asia/Baghdad Asia/Bahrain Asia/Damascus Asia/Istanbul Asia/Kuwait Asia/Qatar "
     "Asia/Riyadh Europe/Istanbul Europe/Kirov Europe/Minsk Europe/Moscow Europe/Simferopol "
     "Europe/Volgograd Indian/Antananarivo Indian/Comoro Indian/Mayotte"},
    {210, NO_SUMMER,
     "IRN",
     "Asia/Tehran"},
    {240, NO_SUMMER,
     "ARE ARM AZE GEO MUS OMN REU SYC",
     "Asia/Baku Asia/Dubai Asia/Muscat Asia/Tbilisi Asia/Yerevan Europe/Astrakhan "
     "Europe/Samara Europe/Saratov Europe/Ulyanovsk Indian/Mahe Indian/Mauritius "
     "Indian/Reunion"},
    {270, NO_SUMMER,
     "AFG",
     "Asia/Kabul"},
    {300, NO_SUMMER,
     "ATF KAZ MDV PAK TJK TKM UZB",
     "Antarctica/Mawson Antarctica/Vostok Asia/Almaty Asia/Aqtau Asia/Aqtobe Asia/Ashgabat "
     "Asia/Ashkhabad Asia/Atyrau Asia/Dushanbe Asia/Karachi Asia/Oral Asia/Qostanay "
     "Asia/Qyzylorda Asia/Samarkand Asia/Tashkent Asia/Yekaterinburg Indian/Kerguelen "
     "Indian/Maldives"},
    {330, NO_SUMMER,
     "IND LKA",
     "Asia/Calcutta Asia/Colombo Asia/Kolkata"},
    {345, NO_SUMMER,
     "NPL",
     "Asia/Kathmandu Asia/Katmandu"},
    {360, NO_SUMMER,
     "BGD BTN IOT KGZ",
     "Asia/Bishkek Asia/Dacca Asia/Dhaka Asia/Kashgar Asia/Omsk Asia/Thimbu Asia/Thimphu "
     "Asia/Urumqi Indian/Chagos"},
    {390, NO_SUMMER,
     "CCK MMR",
     "Asia/Rangoon Asia/Yangon Indian/Cocos"},
    {420, NO_SUMMER,
     "CXR IDN+ KHM LAO THA VNM",
     "Antarctica/Davis Asia/Bangkok Asia/Barnaul Asia/Ho_Chi_Minh Asia/Hovd Asia/Jakarta "
     "Asia/Krasnoyarsk Asia/Novokuznetsk Asia/Novosibirsk Asia/Phnom_Penh Asia/Pontianak "
     "Asia/Saigon Asia/Tomsk Asia/Vientiane Indian/Christmas"},
    {480, NO_SUMMER,
     "BRN CHN HKG MAC MNG MYS PHL SGP TWN",
     "Antarctica/Casey Asia/Brunei Asia/Choibalsan Asia/Chongqing Asia/Chungking Asia/Harbin "
     "Asia/Hong_Kong Asia/Irkutsk Asia/Kuala_Lumpur Asia/Kuching Asia/Macao Asia/Macau "
     "Asia/Makassar Asia/Manila Asia/Shanghai Asia/Singapore Asia/Taipei Asia/Ujung_Pandang "
     "Asia/Ulaanbaatar Asia/Ulan_Bator Australia/Perth Australia/West"},
    {525, NO_SUMMER,
     "",
     "Australia/Eucla"},
    {540, NO_SUMMER,
     "JPN KOR PLW PRK TLS",
     "Asia/Chita Asia/Dili Asia/Jayapura Asia/Khandyga Asia/Pyongyang Asia/Seoul Asia/Tokyo "
     "Asia/Yakutsk Pacific/Palau"},
    {570, AUSTRALIA,
     "",
     "Australia/Adelaide Australia/Broken_Hill Australia/South Australia/Yancowinna"},
    {570, NO_SUMMER,
     "",
     "Australia/Darwin Australia/North"},
    {600, AUSTRALIA,
     "AUS+",
     "Antarctica/Macquarie Australia/ACT Australia/Canberra Australia/Currie "
     "Australia/Hobart Australia/Melbourne Australia/NSW Australia/Sydney Australia/Tasmania "
     "Australia/Victoria"},
    {600, NO_SUMMER,
     "GUM MNP PNG",
     "Antarctica/DumontDUrville Asia/Ust-Nera Asia/Vladivostok Australia/Brisbane "
     "Australia/Lindeman Australia/Queensland Pacific/Chuuk Pacific/Guam "
     "Pacific/Port_Moresby Pacific/Saipan Pacific/Truk Pacific/Yap"},
    {660, AUSTRALIA,
     "NFK",
     "Pacific/Norfolk"},
    {660, NO_SUMMER,
     "FSM NCL SLB VUT",
     "Asia/Magadan Asia/Sakhalin Asia/Srednekolymsk Pacific/Bougainville Pacific/Efate "
     "Pacific/Guadalcanal Pacific/Kosrae Pacific/Noumea Pacific/Pohnpei Pacific/Ponape"},
    {720, NEW_ZEALAND,
     "NZL",
     "Antarctica/McMurdo Antarctica/South_Pole Pacific/Auckland"},
    {720, NO_SUMMER,
     "FJI KIR MHL NRU TUV WLF",
     "Asia/Anadyr Asia/Kamchatka Pacific/Fiji Pacific/Funafuti Pacific/Kwajalein "
     "Pacific/Majuro Pacific/Nauru Pacific/Tarawa Pacific/Wake Pacific/Wallis"},
    {765, NEW_ZEALAND,
     "",
     "Pacific/Chatham"},
    {780, NO_SUMMER,
     "TKL TON WSM",
     "Pacific/Apia Pacific/Enderbury Pacific/Fakaofo Pacific/Kanton Pacific/Tongatapu"},
    {840, NO_SUMMER,
     "",
     "Pacific/Kiritimati"},
};
// clang-format on

enum { ZONES_N = sizeof(ZONES) / sizeof(ZONES[0]) };

/* ---- look-ups ---- */

struct index {
    struct interner *names;
    uint8_t *zone; /* of each */
    bool *spans;
};

struct time_zones {
    struct index zones, countries;
};

static void index_dispose(struct index *x)
{
    interner_destroy(x->names);
    free(x->zone);
    free(x->spans);
}

/* Words with blanks between them. -1: no memory. */
static int index_add(struct index *x, const char *words, uint8_t zone)
{
    while (*words != '\0') {
        size_t len = strcspn(words, " ");
        bool spans = words[len - 1] == '+';
        uint32_t n = interner_add(x->names, (struct bytes){words, len - spans});
        if (n == INTERNER_NONE)
            return -1;
        x->zone[n] = zone;
        x->spans[n] = spans;
        words += len + (words[len] == ' ');
    }
    return 0;
}

static int index_init(struct index *x, bool countries)
{
    enum { WORDS_MAX = 1024 };
    x->names = interner_create();
    x->zone = calloc(WORDS_MAX, sizeof(*x->zone));
    x->spans = calloc(WORDS_MAX, sizeof(*x->spans));
    if (x->names == NULL || x->zone == NULL || x->spans == NULL)
        return -1;
    for (uint8_t i = 0; i < ZONES_N; i++)
        if (index_add(x, countries ? ZONES[i].countries : ZONES[i].names, i) != 0)
            return -1;
    return 0;
}

struct time_zones *time_zones_create(void)
{
    struct time_zones *t = calloc(1, sizeof(*t));
    if (t != NULL && index_init(&t->zones, false) == 0 && index_init(&t->countries, true) == 0)
        return t;
    time_zones_destroy(t);
    return NULL;
}

void time_zones_destroy(struct time_zones *t)
{
    if (t == NULL)
        return;
    index_dispose(&t->zones);
    index_dispose(&t->countries);
    free(t);
}

const struct time_zone *time_zones_find(const struct time_zones *t, struct bytes name)
{
    uint32_t n = interner_find(t->zones.names, name);
    return n == INTERNER_NONE ? NULL : &ZONES[t->zones.zone[n]];
}

const struct time_zone *time_zones_of_country(const struct time_zones *t, struct bytes alpha3,
                                              bool *spans)
{
    uint32_t n = interner_find(t->countries.names, alpha3);
    if (n == INTERNER_NONE)
        return NULL;
    *spans = t->countries.spans[n];
    return &ZONES[t->countries.zone[n]];
}

/* ---- the calendar ---- */

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* Days from 1970-01-01 to the year's first. */
static int64_t year_begins(int64_t year)
{
    int64_t before = year - 1;
    int64_t leaps = floor_div(before, 4) - floor_div(before, 100) + floor_div(before, 400);
    return (year - 1970) * 365 + leaps - 477; /* 477 until 1969 */
}

static int64_t year_of(int64_t day)
{
    int64_t year = 1970 + floor_div(day * 400, 146097); /* at most one off */
    while (day < year_begins(year))
        year--;
    while (day >= year_begins(year + 1))
        year++;
    return year;
}

/* Days from 1970-01-01. */
static int64_t day_of(const struct change *c, int64_t year)
{
    static const int16_t before[14] = {0,   0,   31,  59,  90,  120, 151,
                                       181, 212, 243, 273, 304, 334, 365};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    int64_t january = year_begins(year);
    int64_t first = january + before[c->month] + (leap && c->month > 2);
    int64_t next = january + before[c->month + 1] + (leap && c->month + 1 > 2);
    int64_t weekday = first + THURSDAY - floor_div(first + THURSDAY, 7) * 7;
    int64_t day = first + (c->weekday - weekday + 7) % 7 + 7 * (c->week - 1);
    return day < next ? day : day - 7; /* the last one may be the fourth */
}

int32_t time_zone_offset_min(const struct time_zone *z, int64_t ts_ms)
{
    if (z->summer == NO_SUMMER)
        return z->winter_min;
    const struct summer_rule *rule = &SUMMERS[z->summer];
    int64_t minute = floor_div(ts_ms, 60000) + (rule->utc ? 0 : z->winter_min);
    int64_t year = year_of(floor_div(minute, MINUTES_OF_DAY));
    int64_t begins = day_of(&rule->begins, year) * MINUTES_OF_DAY + rule->begins.minutes;
    int64_t ends = day_of(&rule->ends, year) * MINUTES_OF_DAY + rule->ends.minutes;
    bool summer =
        begins < ends ? minute >= begins && minute < ends : minute >= begins || minute < ends;
    return z->winter_min + (summer ? SUMMER_MINUTES : 0);
}
