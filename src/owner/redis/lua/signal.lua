-- signal: mirrors domain/signaling.rs
-- ARGV: 5 connection, 6 its own peer id or empty, 7 the peer addressed, 8 what kind, 9 the body, as JSON text.
local why = open()
if why then return refuse(why) end
touch()
local seat, text = seat_of(ARGV[5])
if not seat then return refuse('not_in_room') end
if ARGV[6] ~= '' and ARGV[6] ~= seat.c and name_of(seat) ~= ARGV[6] then return refuse('peer_mismatch') end
local target, target_text = named(ARGV[7])
if not target then return refuse('peer_not_found') end
hand(target, '{"signal":{"p":' .. text .. ',"to":' .. target_text .. ',"y":"' .. ARGV[8] .. '","b":' .. ARGV[9] .. '}}')
return done('"r":1')
