-- remove_participant: mirrors domain/membership.rs
-- A user is a participant no more. `connection`: the one that leaves, or empty: all connections of the user.
local user_id, connection = ARGV[5], ARGV[6]
local why = open()
if why then return refuse(why) end
touch()
check_users()
local is_member = room.observers > 0 or call('HEXISTS', user_counts_key, user_id) == 1
local texts = {call('HGET', members_key, connection) or nil}
if connection == '' and is_member then texts = call('HVALS', members_key) end
local found = remove_members_of(user_id, texts, 'left')
if connection == '' and room.made and call('ZREM', participants_key, user_id) == 1 then
  found = true
  tell_info()
end
rest()
return done(found and '"r":1' or '"x":"not_in_room"')
