/* What a DSP's copy of a request looks like, byte by byte, for odd bodies too; and, whatever the
 * body, that it is sound JSON which differs from the original in what was to differ alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>

#include "proxy/request_edit.h"

#define LENGTH(a) (sizeof(a) / sizeof(a[0]))

struct scanned {
    struct arena arena;
    struct bid_request r;
};

static void scan(struct scanned *s, const char *body)
{
    struct bid_request_error e;
    *s = (struct scanned){0};
    if (!bid_request_scan(&s->r, bytes_of(body), 0, &s->arena, &e))
        fail_msg("%s: %s: %s", body, e.path, e.reason);
}

/* With a tmax of 77; NULL if it is as it came. Caller frees. */
static char *edited(const struct request_edit *e, struct scanned *s)
{
    struct request_body b;
    char tmax[REQUEST_TMAX_SIZE];
    if (!request_edit_body(e, &s->r, &s->arena, &b))
        return NULL;
    size_t tmax_len = request_tmax(&s->r, 77, tmax), n = b.before.len + tmax_len + b.after.len;
    char *text = malloc(n + 1);
    memcpy(text, b.before.base, b.before.len);
    memcpy(text + b.before.len, tmax, tmax_len);
    memcpy(text + b.before.len + tmax_len, b.after.base, b.after.len);
    text[n] = '\0';
    return text;
}

struct row {
    const char *body, *expect; /* expect NULL: as it came. In both, "@" = the imps, ' = " */
};

static void spell(char *out, size_t size, const char *text)
{
    size_t n = 0;
    for (; *text != '\0'; text++) {
        if (*text == '@')
            n += (size_t)snprintf(
                out + n, size - n,
                "\"id\":\"r\",\"imp\":[{\"id\":\"1\",\"banner\":{\"w\":1,\"h\":1}}]");
        else
            out[n++] = *text == '\'' ? '"' : *text;
        assert_true(n < size - 1);
    }
    out[n] = '\0';
}

static void check_rows(const struct request_edit *e, const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char body[1024], expect[1024];
        struct scanned s;
        spell(body, sizeof(body), rows[i].body);
        scan(&s, body);
        assert_true(request_edit_allows(e, &s.r));
        char *got = edited(e, &s);
        if (rows[i].expect != NULL)
            spell(expect, sizeof(expect), rows[i].expect);
        if ((got == NULL) != (rows[i].expect == NULL) || (got != NULL && strcmp(got, expect) != 0))
            fail_msg("%s\n  becomes   %s\n  should be %s", body, got != NULL ? got : "(the same)",
                     rows[i].expect != NULL ? expect : "(the same)");
        free(got);
        arena_dispose(&s.arena);
    }
}

static struct request_member members[] = {{"a", "1"}, {"b\"c", "{\"x\":[]}"}};
static const struct request_edit ext_edit = {.ext = members, .n_ext = 2};

static void test_ext(void **state)
{
    static const struct row rows[] = {
        /* none, and what is none */
        {"{@,'tmax':500}", "{'ext':{'a':1,'b\\'c':{'x':[]}},@,'tmax':77}"},
        {"{@}", "{'tmax':77,'ext':{'a':1,'b\\'c':{'x':[]}},@}"},
        {"{'tmax':null,@,'ext':null}", "{'tmax':77,@,'ext':{'a':1,'b\\'c':{'x':[]}}}"},
        {"{'tmax':1,@,'ext': [{'a':2}] }", "{'tmax':77,@,'ext': {'a':1,'b\\'c':{'x':[]}} }"},
        {"{'tmax':1,@,'ext':'{'}", "{'tmax':77,@,'ext':{'a':1,'b\\'c':{'x':[]}}}"},
        {"{'tmax':1,@,'ext':-1.5e3}", "{'tmax':77,@,'ext':{'a':1,'b\\'c':{'x':[]}}}"},
        /* empty */
        {"{'ext':{},@,'tmax':9}", "{'ext':{'a':1,'b\\'c':{'x':[]}},@,'tmax':77}"},
        {"{'ext' : {\n\t} ,@,'tmax':9}", "{'ext' : {'a':1,'b\\'c':{'x':[]}\n\t} ,@,'tmax':77}"},
        /* members of its own stay, white space and all; ours go to the end */
        {"{'ext':{ 'z' : [ 1 ] , 'y':'a' },@,'tmax':9}",
         "{'ext':{ 'z' : [ 1 ] , 'y':'a','a':1,'b\\'c':{'x':[]} },@,'tmax':77}"},
        {"{'ext':{'z':{'a':5}},@,'tmax':9}",
         "{'ext':{'z':{'a':5},'a':1,'b\\'c':{'x':[]}},@,'tmax':77}"},
        /* the same name */
        {"{'ext':{'z':1, 'a' : {'a':2} ,'y':2},@,'tmax':9}",
         "{'ext':{'z':1, 'a' : 1 ,'y':2,'b\\'c':{'x':[]}},@,'tmax':77}"},
        {"{'ext':{'\\u0061':7,'b\\u0022c':null},@,'tmax':9}",
         "{'ext':{'\\u0061':1,'b\\u0022c':{'x':[]}},@,'tmax':77}"},
        {"{'ext':{'A':7,'b':1},@,'tmax':9}",
         "{'ext':{'A':7,'b':1,'a':1,'b\\'c':{'x':[]}},@,'tmax':77}"},
        /* twice */
        {"{'ext':{'a':7,'z':1 , '\\u0061':8, 'a':9,'y':2},@,'tmax':9}",
         "{'ext':{'a':1,'z':1,'y':2,'b\\'c':{'x':[]}},@,'tmax':77}"},
        /* an escaped key of the request's own */
        {"{'\\u0065xt':{'q':0},@,'tmax':9}",
         "{'\\u0065xt':{'q':0,'a':1,'b\\'c':{'x':[]}},@,'tmax':77}"},
    };
    check_rows(&ext_edit, rows, LENGTH(rows));
}

static const struct bytes seats[] = {{"s1", 2}, {"s\"2", 3}};
static const struct request_edit seats_edit = {.seats = {seats, 2}};

static void test_seats(void **state)
{
    static const struct row rows[] = {
        {"{@,'tmax':9}", "{'wseat':['s1','s\\'2'],@,'tmax':77}"},
        {"{'tmax':9,@,'wseat':[]}", "{'tmax':77,@,'wseat':['s1','s\\'2']}"},
        {"{'wseat': null ,@,'tmax':9}", "{'wseat': ['s1','s\\'2'] ,@,'tmax':77}"},
        {"{'wseat':'s1',@,'tmax':9}", "{'wseat':['s1','s\\'2'],@,'tmax':77}"},
        {"{'wseat':[ 'x' , 's1' ],@,'tmax':9}", "{'wseat':['s1'],@,'tmax':77}"},
        {"{'wseat':['s\\u00222',7,'s1'],@,'tmax':9}", "{'wseat':['s1','s\\'2'],@,'tmax':77}"},
        {"{'bseat':['s1','x'],@,'tmax':9}", "{'wseat':['s\\'2'],'bseat':['s1','x'],@,'tmax':77}"},
    };
    check_rows(&seats_edit, rows, LENGTH(rows));
}

static void test_seats_none_is_left(void **state)
{
    static const char *const bodies[] = {"{@,'wseat':['x']}", "{@,'wseat':['S1','']}",
                                         "{@,'bseat':['s1','s\\'2']}",
                                         "{@,'wseat':['s1','x'],'bseat':['s1']}"};
    for (size_t i = 0; i < LENGTH(bodies); i++) {
        char body[256];
        struct scanned s;
        spell(body, sizeof(body), bodies[i]);
        scan(&s, body);
        assert_false(request_edit_allows(&seats_edit, &s.r));
        assert_true(request_edit_allows(&ext_edit, &s.r));
        arena_dispose(&s.arena);
    }
}

static const struct request_edit map_edit = {.buyeruid_key = "Alpha"};

static void test_buyeruid(void **state)
{
#define MAP(entries) "'ext':{'prebid':{'buyeruids':{" entries "}}}"
    static const struct row rows[] = {
        /* no map */
        {"{@,'tmax':9}", NULL},
        {"{@,'user':null}", NULL},
        {"{@,'user':[]}", NULL},
        {"{@,'user':{}}", NULL},
        {"{@,'user':{'buyeruid':'u'}}", NULL},
        {"{@,'user':{'ext':{}}}", NULL},
        {"{@,'user':{'ext':null}}", NULL},
        {"{@,'user':{'ext':{'prebid':{}}}}", NULL},
        {"{@,'user':{'ext':{'prebid':[{'buyeruids':{'alpha':'1'}}]}}}", NULL},
        {"{@,'user':{'ext':{'buyeruids':{'alpha':'1'}}}}", NULL},
        {"{@,'ext':{'prebid':{'buyeruids':{'alpha':'1'}}}}", NULL},
        /* its entry */
        {"{@,'tmax':9,'user':{" MAP("'alpha':'1','beta':'2'") "}}",
         "{@,'tmax':77,'user':{'buyeruid':'1','ext':{}}}"},
        {"{'user':{" MAP("'beta':'2','ALPHA':'\\u0031\\\\'") ",'id':'i'},@}",
         "{'tmax':77,'user':{'buyeruid':'\\u0031\\\\','ext':{},'id':'i'},@}"},
        {"{'user':{" MAP("'\\u0061lpha':'1'") "},@,'tmax':9}",
         "{'user':{'buyeruid':'1','ext':{}},@,'tmax':77}"},
        {"{'user':{" MAP("'alpha':'1','alpha':'2'") "},@,'tmax':9}",
         "{'user':{'buyeruid':'2','ext':{}},@,'tmax':77}"},
        /* there was one */
        {"{'user':{'buyeruid':'u'," MAP("'alpha':'1'") "},@,'tmax':9}",
         "{'user':{'buyeruid':'u','ext':{}},@,'tmax':77}"},
        {"{'user':{'buyeruid': '' ," MAP("'alpha':'1'") "},@,'tmax':9}",
         "{'user':{'buyeruid': '1' ,'ext':{}},@,'tmax':77}"},
        {"{'user':{" MAP("'alpha':'1'") ",'buyeruid':null},@,'tmax':9}",
         "{'user':{'ext':{},'buyeruid':'1'},@,'tmax':77}"},
        /* no entry: the others' go all the same */
        {"{'user':{'id':'i'," MAP("'beta':'2'") "},@,'tmax':9}",
         "{'user':{'id':'i','ext':{}},@,'tmax':77}"},
        {"{'user':{" MAP("") "},@,'tmax':9}", "{'user':{'ext':{}},@,'tmax':77}"},
        {"{'user':{" MAP("'alpha':''") "},@,'tmax':9}", "{'user':{'ext':{}},@,'tmax':77}"},
        {"{'user':{" MAP("'alpha':12") "},@,'tmax':9}", "{'user':{'ext':{}},@,'tmax':77}"},
        {"{'user':{" MAP("'alpha':{'alpha':'1'}") "},@,'tmax':9}",
         "{'user':{'ext':{}},@,'tmax':77}"},
        {"{'user':{'ext':{'prebid':{'buyeruids':null}}},@,'tmax':9}",
         "{'user':{'ext':{}},@,'tmax':77}"},
        {"{'user':{'ext':{'prebid':{'buyeruids':['1']}}},@,'tmax':9}",
         "{'user':{'ext':{}},@,'tmax':77}"},
        /* among other members: first, last, between; escaped; twice */
        {"{'user':{'ext':{ 'prebid' : {'buyeruids':{'alpha':'1'}} , 'consent' : 'c' }},@,'tmax':9}",
         "{'user':{'buyeruid':'1','ext':{ 'consent' : 'c' }},@,'tmax':77}"},
        {"{'user':{'ext':{ 'consent' : 'c' , 'prebid' : {'buyeruids':{'alpha':'1'}} }},@,'tmax':9}",
         "{'user':{'buyeruid':'1','ext':{ 'consent' : 'c' }},@,'tmax':77}"},
        {"{'user':{'ext':{'a':1,'prebid':{'buyeruids':{}},'b':2}},@,'tmax':9}",
         "{'user':{'ext':{'a':1,'b':2}},@,'tmax':77}"},
        {"{'user':{'ext':{'prebid':{'x':[1], 'buyeruids':{'alpha':'1'} ,'y':2}}},@,'tmax':9}",
         "{'user':{'buyeruid':'1','ext':{'prebid':{'x':[1] ,'y':2}}},@,'tmax':77}"},
        {"{'user':{'ext':{'prebid':{'buyeruids':{'alpha':'1'},'y':2}}},@,'tmax':9}",
         "{'user':{'buyeruid':'1','ext':{'prebid':{'y':2}}},@,'tmax':77}"},
        {"{'user':{'ext':{'\\u0070rebid':{'buyer\\u0075ids':{'alpha':'1'}}}},@,'tmax':9}",
         "{'user':{'buyeruid':'1','ext':{}},@,'tmax':77}"},
        {"{'user':{'ext':{'prebid':{'buyeruids':{'b':'2'}},'prebid':{'buyeruids':{'alpha':'1'},"
         "'buyeruids':{'c':'3'}},'z':0,'prebid':{'buyeruids':7,'y':1,'buyeruids':{}},"
         "'prebid':{'buyeruids':{}}}},@,'tmax':9}",
         "{'user':{'buyeruid':'1','ext':{'z':0,'prebid':{'y':1}}},@,'tmax':77}"},
    };
    check_rows(&map_edit, rows, LENGTH(rows));
}

/* All at once, the places in every order. */
static void test_all_in_any_order(void **state)
{
    static const char *const pieces[][2] = {
        {"'tmax':9", "'tmax':77"},
        {"'ext':{'z':1}", "'ext':{'z':1,'a':1,'b\\'c':{'x':[]}}"},
        {"'wseat':['x','s1']", "'wseat':['s1']"},
        {"'user':{'buyeruid':null," MAP("'alpha':'1'") "}", "'user':{'buyeruid':'1','ext':{}}"},
    };
    const struct request_edit all = {
        .ext = members, .n_ext = 2, .seats = {seats, 2}, .buyeruid_key = "alpha"};
    for (unsigned order = 0; order < 256; order++) {
        unsigned p[4] = {order & 3, order >> 2 & 3, order >> 4 & 3, order >> 6};
        if ((1u << p[0] | 1u << p[1] | 1u << p[2] | 1u << p[3]) != 15)
            continue;
        char text[2][512];
        for (int k = 0; k < 2; k++)
            snprintf(text[k], sizeof(text[k]), " {%s , %s,@,%s,%s}\n", pieces[p[0]][k],
                     pieces[p[1]][k], pieces[p[2]][k], pieces[p[3]][k]);
        const struct row row = {text[0], text[1]};
        check_rows(&all, &row, 1);
    }
    static const struct row none = {
        "{@}", "{'tmax':77,'ext':{'a':1,'b\\'c':{'x':[]}},'wseat':['s1','s\\'2'],@}"};
    check_rows(&all, &none, 1);
}

static void test_body_as_it_came(void **state)
{
    static const struct {
        const char *body, *before, *after, *tmax;
    } rows[] = {
        {"{@, 'tmax' : 500 }", "{@, 'tmax' : ", " }", "77"},
        {" {@}", " {", "@}", "'tmax':77,"},
    };
    for (size_t i = 0; i < LENGTH(rows); i++) {
        char body[256], before[256], after[256], tmax[64], got[REQUEST_TMAX_SIZE];
        struct scanned s;
        spell(body, sizeof(body), rows[i].body);
        spell(before, sizeof(before), rows[i].before);
        spell(after, sizeof(after), rows[i].after);
        spell(tmax, sizeof(tmax), rows[i].tmax);
        scan(&s, body);
        struct request_body b = request_body(&s.r);
        assert_true(bytes_is(b.before, before) && bytes_is(b.after, after));
        assert_true(bytes_is((struct bytes){got, request_tmax(&s.r, 77, got)}, tmax));
        assert_true(request_edit_is_none(&(struct request_edit){0}));
        assert_false(request_edit_body(&(struct request_edit){0}, &s.r, &s.arena, &b));
        arena_dispose(&s.arena);
    }
    struct scanned s;
    scan(&s, "{\"id\":\"r\",\"imp\":[{\"id\":\"1\",\"banner\":{\"w\":1,\"h\":1}}]}");
    char text[REQUEST_TMAX_SIZE];
    assert_int_equal(request_tmax(&s.r, UINT32_MAX, text), 18); /* "tmax":4294967295, */
    arena_dispose(&s.arena);
}

/* The same edits on a tree: the oracle. */
static json_t *edit_tree(const char *body, const struct request_edit *e)
{
    json_t *root = json_loads(body, 0, NULL), *value;
    if (root == NULL)
        return NULL;
    if (!json_is_object(json_object_get(root, "ext")))
        json_object_set_new(root, "ext", json_object());
    for (uint32_t i = 0; i < e->n_ext; i++) {
        value = json_loads(e->ext[i].value, JSON_DECODE_ANY, NULL);
        json_object_set_new(json_object_get(root, "ext"), e->ext[i].name, value);
    }
    json_object_set_new(root, "tmax", json_integer(77));
    json_t *user = json_object_get(root, "user"), *ext = json_object_get(user, "ext");
    json_t *prebid = json_object_get(ext, "prebid"), *map = json_object_get(prebid, "buyeruids");
    if (map == NULL)
        return root;
    value = json_object_get(map, e->buyeruid_key);
    const char *own = json_string_value(json_object_get(user, "buyeruid"));
    if (json_is_string(value) && json_string_length(value) > 0 && (own == NULL || own[0] == '\0'))
        json_object_set(user, "buyeruid", value);
    json_object_del(json_object_size(prebid) == 1 ? ext : prebid,
                    json_object_size(prebid) == 1 ? "prebid" : "buyeruids");
    return root;
}

static void test_corpus(void **state)
{
    const char *folder = getenv("BIDSIEVE_CORPUS");
    if (folder == NULL) {
        printf("skipped: BIDSIEVE_CORPUS is not set\n");
        skip();
    }
    char path[512];
    snprintf(path, sizeof(path), "%s/openrtb/requests.ndjson", folder);
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    const struct request_edit e = {.ext = members, .n_ext = 2, .buyeruid_key = "appnexus"};
    char *line = NULL;
    size_t size = 0;
    unsigned n = 0;
    while (getline(&line, &size, in) > 0) {
        json_t *entry = json_loads(line, 0, NULL);
        char *body = json_dumps(json_object_get(entry, "body"), JSON_INDENT(1));
        struct scanned s = {0};
        struct bid_request_error fault;
        if (body != NULL && bid_request_scan(&s.r, bytes_of(body), 0, &s.arena, &fault)) {
            char *text = edited(&e, &s);
            json_t *got = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
            json_t *expect = edit_tree(body, &e);
            if (got == NULL || !json_equal(got, expect))
                fail_msg("%s\nbecame %s", body, text);
            json_decref(got);
            json_decref(expect);
            free(text);
            n++;
        }
        arena_dispose(&s.arena);
        free(body);
        json_decref(entry);
    }
    free(line);
    fclose(in);
    assert_true(n > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ext),
        cmocka_unit_test(test_seats),
        cmocka_unit_test(test_seats_none_is_left),
        cmocka_unit_test(test_buyeruid),
        cmocka_unit_test(test_all_in_any_order),
        cmocka_unit_test(test_body_as_it_came),
        cmocka_unit_test(test_corpus),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
