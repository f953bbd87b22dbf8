-- set_locked: mirrors domain/room.rs
-- The host or an admin locks the room for users that are not in it, or unlocks it.
local by, is_admin, host_key, is_locked = ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local why = open()
if why then return refuse(why) end
if not is_host(by, is_admin, host_key) then return refuse('host_only') end
touch()
call('HSET', key, 'lk', is_locked)
rest()
return done('"r":1')
