-- end_push: mirrors domain/user.rs
-- Ends a push with an idempotency key, `id`. `reach`: its reach, for repeated calls, or empty if it can be repeated.
local place, reach = key .. ':k:' .. ARGV[6], ARGV[7]
if reach == '' then call('DEL', place) else call('SET', place, reach, 'PX', REPEATED_PUBLICATION_MS) end
return '{}'
