-- Locked, so that nobody changes an id between the comparison and the update.
SELECT uuid, handle, cognito_user_id
FROM public.users
ORDER BY uuid
FOR UPDATE
