-- describe: mirrors domain/room.rs
-- ARGV: 5 user, 6 1 if an admin.
local why = open()
if why then return refuse('room_not_found') end
touch()
if not admits(ARGV[5], ARGV[6]) then return refuse('private') end
rest()
return done(view(true))
