SELECT uuid, COALESCE(handle, '') AS "handle!", COALESCE(display_name, handle, '') AS "display_name!"
FROM public.users
WHERE uuid = ANY($1)
