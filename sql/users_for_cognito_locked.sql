-- Locked, so that nobody changes an id or an e-mail address between the comparison and the update.
SELECT uuid, handle, email, cognito_user_id
FROM public.users
ORDER BY uuid
FOR UPDATE
