WITH tables AS (
    SELECT c.oid, c.relname FROM pg_class c
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND c.relname IN (
        'format', 'settings', 'users', 'leases', 'interactions', 'periods', 'members',
        'generations', 'memories', 'answers', 'embeddings', 'graphs', 'consents', 'keys', 'replicas',
        'contributions', 'priors')
), items AS (
    SELECT format('column %s.%s: %s%s%s, storage %s%s%s%s', t.relname, a.attname,
               format_type(a.atttypid, a.atttypmod),
               CASE WHEN a.attnotnull THEN ', not null' ELSE '' END,
               CASE WHEN o.collname IS NULL OR o.collname = 'default' THEN ''
                   ELSE format(', collated %s', o.collname) END,
               a.attstorage,
               CASE WHEN d.oid IS NULL THEN '' ELSE format(', default %s', pg_get_expr(d.adbin, d.adrelid)) END,
               CASE WHEN a.attidentity = '' THEN '' ELSE format(', identity %s', a.attidentity) END,
               CASE WHEN a.attgenerated = '' THEN '' ELSE ', generated' END) AS item
    FROM tables t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = t.oid AND d.adnum = a.attnum
    LEFT JOIN pg_collation o ON o.oid = a.attcollation
    UNION ALL
    -- Not those of columns, which some versions have here too.
    SELECT format('constraint of %s: %s', t.relname, pg_get_constraintdef(c.oid))
    FROM tables t JOIN pg_constraint c ON c.conrelid = t.oid AND c.contype <> 'n'
    UNION ALL
    SELECT format('index: %s',
               replace(pg_get_indexdef(i.indexrelid), format('%I.', current_schema()), ''))
    FROM tables t JOIN pg_index i ON i.indrelid = t.oid
    UNION ALL
    SELECT format('trigger %s of %s', g.tgname, t.relname)
    FROM tables t JOIN pg_trigger g ON g.tgrelid = t.oid AND NOT g.tgisinternal
    UNION ALL
    SELECT format('rule %s of %s', r.rulename, t.relname)
    FROM tables t JOIN pg_rewrite r ON r.ev_class = t.oid
    UNION ALL
    SELECT format('policy %s of %s', p.polname, t.relname)
    FROM tables t JOIN pg_policy p ON p.polrelid = t.oid
    UNION ALL
    SELECT format('%s inherits from %s', t.relname, h.inhparent::regclass)
    FROM tables t JOIN pg_inherits h ON h.inhrelid = t.oid
) SELECT string_agg(item, E'\n' ORDER BY item COLLATE "C") FROM items
