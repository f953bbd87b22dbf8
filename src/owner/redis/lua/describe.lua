-- describe: mirrors domain/room.rs
-- The room with its members.
local user_id, is_admin = ARGV[5], ARGV[6]
local why = open()
if why then return refuse(absence(why)) end
touch()
if not admits(user_id, is_admin) then return refuse('private') end
rest()
return done(view() .. ',"l":[', false, (some_members()))
