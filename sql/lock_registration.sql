-- Registrations of one user wait for each other. The column is a boolean, because the result has the type void.
SELECT pg_advisory_xact_lock(hashtextextended($1, 0)) IS NOT NULL AS "locked!"
