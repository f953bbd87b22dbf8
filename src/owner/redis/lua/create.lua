-- create: mirrors domain/room.rs
-- Makes a room. `history`: 1 or 0 if messages are kept or not, empty: the default; `keep_count` and
-- `keep_age`: how many and how long, empty: the default. `host_key`: hash of the host secret, empty: none. Arguments from 17
-- on: the participants. `locked`: 1 if it is locked from the beginning.
local epoch, host, host_id, is_guest, profile, is_private = ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10]
local capacity, history, keep_count, keep_age, host_key = ARGV[11], ARGV[12], ARGV[13], ARGV[14], ARGV[15]
local locked = ARGV[16]
if call('EXISTS', key) == 1 then
  touch()
  return refuse(call('HGET', key, 'hu') == host_id and 'in_use' or 'in_use_by_another')
end
make(epoch, host, host_id, is_guest, true, host_id)
call('HSET', key, 'pf', profile, 'v', is_private, 'x', capacity, 'y', history, 'km', keep_count, 'ka', keep_age, 'hk', host_key,
  'lk', locked)
for at = 17, #ARGV do call('ZADD', participants_key, 'NX', at, ARGV[at]) end
rest()
return done(view() .. ',"l":[]')
