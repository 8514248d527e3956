"""Name what the ledger notes of a run as a whole, where several modules read it."""

PLANS_GRADUALLY = "plans_gradually"
"""In the ledger: the recipe is a script, which plans while it runs and writes its files itself."""

CHECKSUMS_ONLY = "checksums_only"
"""In the ledger: the files are those of others, of any format and size; checksums show whether they are complete."""

ASSEMBLED = "assembled"
"""In the ledger: ``file``, ``bytes`` and ``sha256`` of each file that was assembled from all results."""

ASSEMBLY = "assembly"
"""In the ledger: parameters of the assembly."""
