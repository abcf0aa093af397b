/* The programs akiosctl (akios for short) and akiosd: each executes the Python it was installed
 * with, in isolated mode.
 *
 * A script cannot do this.  Python reads PYTHONPATH, PYTHONHOME, the user's site-packages and their
 * .pth files before the first line of a script, and installers leave no option in a script's first
 * line.  So the option is given from here: -I (Python's manual, "Command line and environment")
 * leaves all of that and the current directory out.  A name is looked up nowhere: the interpreter
 * lies beside this file, as in every virtual environment, or where it was when this was built. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct entry {
    const char *name, *code;
    int failed; /* the exit status when nothing could be started */
};

static const struct entry entries[] = {
    {"akiosctl", "from akiosctl.cli import main; main()", 125},
    {"akios", "from akiosctl.cli import main; main()", 125},
    {"akiosd", "import sys; from akiosd.daemon.main import main; sys.exit(main())", 1},
};

/* Variables by which OpenSSL loads code (openssl-env(7)); it reads them also in a program that has
 * no use for them. */
static const char *const loads_code[] = {"OPENSSL_CONF", "OPENSSL_ENGINES", "OPENSSL_MODULES"};

static const struct entry *find_entry(const char *name)
{
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++)
        if (strcmp(entries[i].name, name) == 0)
            return &entries[i];
    return NULL;
}

int main(int argc, char **argv)
{
    char self[PATH_MAX], beside[PATH_MAX + sizeof AKIOS_PYTHON_NAME];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    self[length < 0 ? 0 : length] = '\0';
    char *slash = strrchr(self, '/');
    const struct entry *entry = slash == NULL ? NULL : find_entry(slash + 1);
    if (entry == NULL) {
        fprintf(stderr,
                "akios: this program is called neither akiosctl, akios nor akiosd\n  where: %s\n"
                "  next: give it its name back, or mount /proc\n",
                self);
        return 125;
    }
    snprintf(beside, sizeof beside, "%.*s/%s", (int)(slash - self), self, AKIOS_PYTHON_NAME);
    char *python = access(beside, X_OK) == 0 ? beside : (char[]){AKIOS_PYTHON};
    char **words = calloc((size_t)argc + 4, sizeof *words);
    if (words == NULL)
        return entry->failed;
    char isolated[] = "-I", command[] = "-c";
    words[0] = python;
    words[1] = isolated;
    words[2] = command;
    words[3] = strdup(entry->code);
    for (int i = 1; i < argc; i++)
        words[i + 3] = argv[i];
    for (size_t i = 0; i < sizeof loads_code / sizeof *loads_code && entry->failed == 1; i++)
        unsetenv(loads_code[i]);
    execv(python, words);
    fprintf(stderr,
            "%s: its Python cannot be started: %s\n  where: %s\n  next: install AKIOS again\n",
            entry->name, strerror(errno), python);
    return entry->failed;
}
