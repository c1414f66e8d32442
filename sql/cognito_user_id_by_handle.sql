SELECT cognito_user_id FROM public.users WHERE handle = $1
