-- update: mirrors domain/room.rs
-- Changes the settings. `change`: the new parts of the profile, as JSON; an empty description or metadata is removed. `adopts`: 1
-- if a room that began with a join gets a profile. `locked`, `keep_count`, `keep_age`: empty: they stay. `has_participants`: 1 if
-- the arguments from 13 on replace the participants.
local user_id, is_admin, change, adopts = ARGV[5], ARGV[6], cjson.decode(ARGV[7]), ARGV[8] == '1'
local locked, keep_count, keep_age, has_participants = ARGV[9], ARGV[10], ARGV[11], ARGV[12] == '1'
local why = open(adopts)
if why then return refuse(absence(why)) end
if not admits(user_id, is_admin) then return refuse('private') end
if not is_host(user_id, is_admin) then return refuse('update_forbidden') end
if not room.made and not adopts then return refuse('no_profile') end
touch()
local profile = cjson.decode(call('HGET', key, 'pf') or '{"v":false,"x":0}')
for field, value in pairs(change) do profile[field] = value end
if profile.d == '' then profile.d = nil end
if profile.md == '' then profile.md = nil end
room.made, room.private, room.capacity = true, profile.v, profile.x
call('HSET', key, 'pf', cjson.encode(profile), 'm', 1, 'v', profile.v and 1 or 0, 'x', profile.x)
if locked ~= '' then call('HSET', key, 'lk', locked) end
if keep_count ~= '' then call('HSET', key, 'km', keep_count) end
if keep_age ~= '' then call('HSET', key, 'ka', keep_age) end
if has_participants then
  call('DEL', participants_key)
  for at = 13, #ARGV do call('ZADD', participants_key, 'NX', at, ARGV[at]) end
end
tell('*', info('updated'))
rest()
return done(view() .. ',"l":[]')
