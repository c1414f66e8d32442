SELECT uuid, handle AS "handle!", COALESCE(display_name, handle) AS "display_name!"
FROM public.users
WHERE handle = ANY($1)
