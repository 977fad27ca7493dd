typedef int placeholder; /* being written */
