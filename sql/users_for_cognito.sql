SELECT uuid, handle, email, cognito_user_id
FROM public.users
ORDER BY uuid
