-- The column is a boolean, because the result of pg_notify has the type void.
SELECT pg_notify($1, $2) IS NOT NULL AS "sent!"
