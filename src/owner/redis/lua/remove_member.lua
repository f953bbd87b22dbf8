-- remove_member: mirrors domain/membership.rs
-- The membership of a connection ends.
local connection = ARGV[5]
local why = open()
if why then return refuse(absence(why)) end
touch()
local seat, text = seat_of(connection)
if seat then
  leave(seat, text)
  rest()
end
return done('"r":1')
