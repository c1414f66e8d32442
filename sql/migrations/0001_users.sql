-- The earlier system's table, taken over as it is where it is there already.
CREATE TABLE IF NOT EXISTS public.users (
    uuid UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    display_name text,
    handle text,
    email text,
    cognito_user_id text,
    created_at timestamp DEFAULT current_timestamp
);
