/* A fuzzer's main where there is no libFuzzer: gives it the files of a corpus, so that each input that ever mattered
 * is tried by every compiler. replay FOLDER */
#include "fuzz.h"

#include <dirent.h>

static void try_file(const char *folder, const char *name)
{
    static uint8_t data[1 << 20];
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    REQUIRE(file);
    size_t size = fread(data, 1, sizeof(data), file);
    fclose(file);
    fprintf(stderr, "%s\n", path); /* the last one named is the one that failed */
    LLVMFuzzerTestOneInput(data, size);
}

int main(int argc, char **argv)
{
    DIR *folder = argc == 2 ? opendir(argv[1]) : NULL;
    if (!folder) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    int tried = 0;
    for (struct dirent *entry; (entry = readdir(folder));)
        if (entry->d_name[0] != '.') {
            try_file(argv[1], entry->d_name);
            tried++;
        }
    closedir(folder);
    return tried > 0 ? 0 : 1; /* an empty corpus is a mistake */
}
