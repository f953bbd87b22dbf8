-- media: mirrors domain/membership.rs
-- ARGV: 5 connection, 6 its own peer id or empty, 7 which media it sends.
local why = open()
if why then return refuse(why) end
touch()
local seat = seat_of(ARGV[5])
if not seat then return refuse('not_in_room') end
if ARGV[6] ~= '' and ARGV[6] ~= seat.c and name_of(seat) ~= ARGV[6] then return refuse('peer_mismatch') end
seat.v = tonumber(ARGV[7])
tell('*' .. seat.c, '{"media":' .. write(seat) .. '}')
return done('"r":1')
