-- Nobody adds or changes a user between the comparison and the update. Reads, and inserts into tables that refer to users,
-- continue.
LOCK TABLE public.users IN SHARE ROW EXCLUSIVE MODE
