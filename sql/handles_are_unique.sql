SELECT EXISTS (
    SELECT 1
    FROM pg_catalog.pg_index AS i
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
    WHERE i.indrelid = 'public.users'::regclass AND a.attname = 'handle' AND i.indnkeyatts = 1
        AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL
) AS "are_unique!"
