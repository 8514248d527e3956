"""Commands as a program uses them: words of a queue, a run folder or a lockfile become recipes, and are executed.

The parameters of commands are declared here, and words are parsed and checked. Help texts, what is printed and exit
statuses belong to :mod:`eechips.cli`."""
