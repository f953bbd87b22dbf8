-- ack_direct: mirrors domain/user.rs
-- Removes a direct message that a connection has received.
local id = ARGV[6]
call('ZREM', waiting_key, id)
call('HDEL', directs_key, id)
return '{}'
