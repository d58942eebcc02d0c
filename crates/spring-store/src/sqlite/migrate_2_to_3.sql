-- Embeddings, and what is known of the graphs over them.
CREATE TABLE embeddings (
    user INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    base TEXT NOT NULL,
    vector BLOB NOT NULL,
    PRIMARY KEY (user, seq, base),
    FOREIGN KEY (user, seq) REFERENCES interactions ON DELETE CASCADE
) STRICT;
CREATE TABLE graphs (
    user INTEGER PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    stamp TEXT NOT NULL
) STRICT;
