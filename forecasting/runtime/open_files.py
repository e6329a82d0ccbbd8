"""How many files and connections this process may have open."""

import errno
import resource

TOO_MANY = (errno.EMFILE, errno.ENFILE)  # of this process, of the whole machine
ADVICE = "Raise the limit: ulimit -n in a shell, LimitNOFILE= in a systemd unit, --ulimit nofile= of a container."


def raise_file_limit(num_files: int) -> int:
    """Allows this process so many open files, or as many as the system permits: returns how many. Many systems start
    with 1,024, or 256.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = num_files if hard == resource.RLIM_INFINITY else min(num_files, hard)
    if soft == resource.RLIM_INFINITY or soft >= limit:
        return num_files if soft == resource.RLIM_INFINITY else soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit


def explain_too_many(error: OSError) -> str:
    """For an error of TOO_MANY, a sentence and what to do."""
    if error.errno == errno.ENFILE:
        return f"This machine has too many open files ({error.strerror}). Close some, or raise fs.file-max."
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return f"This process has too many open files: its limit is {limit} (ulimit -n). {ADVICE}"
