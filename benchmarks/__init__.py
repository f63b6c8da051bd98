"""What entrepot costs, beside the floor under it and the peers next to it.

`python -m benchmarks` measures everything and prints one table; README.md says how to read it.

    harness.py   contestants in turns, medians, ratios, profiles
    report.py    bounds, verdicts, the table, JSON
    floors.py    what cannot be undercut: a bare LMDB transaction, a memory copy, a socket echo
    peers.py     Redis, multiprocessing.Manager, vineyard: started here, stopped here
    subject.py   entrepot itself, behind the same verbs as the peers

The other files are one question each: a function `measure_...(plan)` that returns checks.
"""
