/* The subcommands: each cmd_<name>.c holds one. argv[0] is the command's name; the value is the
 * exit status. */
#ifndef PROXY_COMMANDS_H
#define PROXY_COMMANDS_H

int cmd_serve(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_train(int argc, char **argv);
int cmd_evaluate(int argc, char **argv);
int cmd_recalibrate(int argc, char **argv);
int cmd_backtest(int argc, char **argv);
int cmd_score(int argc, char **argv);
int cmd_encode(int argc, char **argv);
int cmd_replay(int argc, char **argv);
int cmd_inspect(int argc, char **argv);

#endif
