-- Two rows are asked for to see that there is only one: an id that two users have is nobody's.
SELECT uuid, COALESCE(handle, '') AS "handle!", COALESCE(display_name, handle, '') AS "display_name!"
FROM public.users
WHERE cognito_user_id = $1 AND cognito_user_id <> 'MOCK'
LIMIT 2
