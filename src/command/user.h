/* "conesocks user": adds, changes, removes and lists the users of users_file. */
#ifndef CONESOCKS_COMMAND_USER_H
#define CONESOCKS_COMMAND_USER_H

int user_command(int argc, char **argv);

#endif
