-- describe_user: mirrors domain/user.rs
-- Presence of the user.
read()
if not user.identity then return refuse('user') end
if not user.here then return '{"w":' .. user.identity .. ',"t":' .. (user.last_seen or now) .. '}' end
local ids = connections()
local newest = #ids > 0 and ',"b":' .. user.connected_at .. ',"c":["' .. ids[#ids] .. '"]' or ''
return '{"w":' .. user.identity .. ',"s":"' .. user.status .. '","l":' .. last_seen() .. ',"k":' .. #ids .. newest .. '}'
