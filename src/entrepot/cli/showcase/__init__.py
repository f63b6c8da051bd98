"""What `entrepot demo` does: the main job, on real data, seen by a person.

::

    dataset    a table and the jobs that study it: the user's file, or all of Unicode
    families   the default data, and its study; `columns` that of a user's file
    run        load, put, start workers, hand out jobs, gather results, clean up
    worker     what each worker process does
    evidence   where a table's bytes are: in shared memory, or copied
    report     the screen
"""
