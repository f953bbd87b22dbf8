-- connections: mirrors domain/user.rs
local ids = {}
for at, id in ipairs((connections())) do ids[at] = '"' .. id .. '"' end
return '{"c":[' .. table.concat(ids, ',') .. ']}'
