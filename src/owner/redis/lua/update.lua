-- update: mirrors domain/room.rs
-- Changes the name (empty: it stays) and the description (`has_description`: 1 if it changes).
local user_id, is_admin, name, has_description, description = ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local why = open()
if why then return refuse('room_not_found') end
if not admits(user_id, is_admin) then return refuse('private') end
if not is_host(user_id, is_admin) then return refuse('update_forbidden') end
if not room.made then return refuse('no_profile') end
touch()
local profile = cjson.decode(call('HGET', key, 'pf'))
if name ~= '' then profile.n = name end
if has_description == '1' then profile.d = description ~= '' and description or nil end
call('HSET', key, 'pf', cjson.encode(profile))
tell_info()
rest()
return done(view() .. ',"l":[]')
