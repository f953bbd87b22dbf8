-- remove_user: mirrors domain/membership.rs
-- The host or an admin removes a user: all memberships, and the participation.
local by, is_admin, host_key, user_id = ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local why = open()
if why then return refuse(why) end
if not is_host(by, is_admin, host_key) then return refuse('host_only') end
touch()
check_users()
local is_member = room.observers > 0 or call('HEXISTS', user_counts_key, user_id) == 1
local found = remove_members_of(user_id, is_member and call('HVALS', members_key) or {}, 'removed')
if room.made and call('ZREM', participants_key, user_id) == 1 then
  found = true
  tell_info()
end
rest()
return done(found and '"r":1' or '"x":"not_in_room"')
