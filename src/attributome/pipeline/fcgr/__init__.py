"""One function per verb on pairs of a miRNA and a site: a job and a folder in, a run out."""
