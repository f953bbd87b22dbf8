-- begin_push: mirrors domain/user.rs
-- Begins a push with an idempotency key, `id`, unless it was done; then the answer is its reach.
local place = key .. ':k:' .. ARGV[6]
local known = call('GET', place)
if known == '' then return refuse('push') end
if known then return known end
call('SET', place, '', 'PX', PUSH_MS)
return '{}'
